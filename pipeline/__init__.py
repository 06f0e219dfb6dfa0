"""The machine: records, storage contract, restart, executors and the command line. It knows no concrete stage."""
