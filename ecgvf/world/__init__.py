"""Janus-nano's world: the grammar of its sentences, and the network of its small judges."""
