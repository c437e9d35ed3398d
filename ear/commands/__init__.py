"""The commands of ``ear``, a file each: parse, call, print.

Heavy libraries are imported inside the commands that need them, so that ``ear --help`` answers at once.
"""
