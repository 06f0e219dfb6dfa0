"""The rules of WebDataset shards, checked on any folder of tars."""
