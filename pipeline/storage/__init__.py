"""Where files are: a local folder, an object store or HDFS, behind one protocol, with locks and retries."""
