"""Data, checkpoints and results under DVC: named in git, kept in a cache, fetched on another machine."""
