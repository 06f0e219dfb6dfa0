"""What files hold: tars, their indexes, Parquet tables, contact sheets."""
