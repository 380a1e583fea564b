"""A look at the data before anything is built of them: counts, sizes, disk, estimated shards, pictures, one page."""
