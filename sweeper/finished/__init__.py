"""A trial that has ended: exported, registered, evaluated, searched for wrong labels."""
