"""Other libraries' shapes on our one engine: attacks on any model by name, a guard around foreign ones, RobustBench."""
