"""A study and its machine kept in order: doctor, disk, late deliveries."""
