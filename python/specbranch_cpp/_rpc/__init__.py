"""Devices of other hosts, through llama.cpp's RPC backend: both ends of it."""
