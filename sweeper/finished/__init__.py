"""A trial that has ended: exported, registered, evaluated, asked for wrong labels."""
