"""One module per figure: tables in, a matplotlib figure and its numbers out. Nothing here imports torch."""
