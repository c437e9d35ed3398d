"""Janus-nano's world: the grammar of its sentences, its questions, and the networks of its small judges."""
