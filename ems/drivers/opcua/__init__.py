"""OPC UA: asyncua speaks the protocol, this package sets deadlines and decides whom to trust.

Imported only when a site has an OPC UA device: asyncua costs some 25 MB.
"""
