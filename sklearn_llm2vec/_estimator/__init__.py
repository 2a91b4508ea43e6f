"""The scikit-learn side; cache and encoder meet here and only here."""
