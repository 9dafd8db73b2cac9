"""The command line: options, arguments and help texts. Nothing heavy is loaded here."""
