"""What `import clientip` offers: log files to records and tables, in this process."""
