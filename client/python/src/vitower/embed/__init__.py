"""The command `vitower-embed`, and `read_shards` for what it writes."""

from vitower.embed.shards import Row, read_shards

__all__ = ["Row", "read_shards"]
