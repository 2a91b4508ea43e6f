"""What a JSON file raises that is damaged, or contains something else than expected."""

# ValueError: no JSON, or no UTF-8. RecursionError: lists in lists, thousands of times.
# LookupError, TypeError and AttributeError: it is JSON, but a list in place of an object,
# a name is missing, or a value is of another type.
DAMAGED_JSON = (ValueError, RecursionError, LookupError, TypeError, AttributeError)
