"""The data contract once more, slow and obvious: the oracle that property tests hold the pipeline against.

Only the standard library and pycountry; nothing of the pipeline is imported, so an error can not be shared.
Reads CSV and csv.gz, a day at a time, with the contract's default policy. Left out on purpose: other file
formats, the ledger (every file given is read, also one whose content repeats), and everything by event_date.
"""
