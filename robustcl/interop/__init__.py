"""Other libraries' shapes on our one engine: attacks on any model by name, and a guard around foreign ones."""
