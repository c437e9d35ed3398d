"""The same job on Janus-Pro-1B, judged by ResNet-50. Needs a GPU, and downloads both.

python examples/janus_pro.py
python -m examples.janus_pro --tiny     # a tiny random Janus and ResNet-50: shows that it runs, erases nothing
"""
