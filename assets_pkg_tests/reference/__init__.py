"""The data contract once more, slow and obvious: the oracle that property tests hold the pipeline against.

Only the standard library, pycountry and (for Parquet) pyarrow; nothing of the pipeline is imported, so an error can
not be shared. Reads all raw formats, a day at a time, with the contract's default policy. A day knows no ledger: every
file given is read, also one whose content repeats; what the ledger makes of a history of files is ledger.py's, apart.
Everything by event_date is activity.py's: it takes the clean events of all days and knows no raw file.
"""
