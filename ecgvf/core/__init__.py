"""What every stage stands on: records, the store, concepts, errors, seeds, the console."""
