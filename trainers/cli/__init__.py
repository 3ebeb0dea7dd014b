"""The command line: flags, errors, signals and help, which all commands share."""
