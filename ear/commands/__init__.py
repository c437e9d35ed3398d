"""The commands of ``ear``, a file each: options, a call, and what is printed.

Heavy libraries are imported inside the functions, so that ``ear --help`` answers at once.
"""
