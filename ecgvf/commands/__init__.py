"""The commands of ``ecgvf``, a file per command: parse, call, print.

Heavy libraries are imported inside the commands that need them, so that ``ecgvf --help`` answers at once.
"""
