"""All an adapter may import. Everything here is part of the interface that outside adapters are written against."""
