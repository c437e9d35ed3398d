"""Stage 1: a concept becomes target/surrogate pairs, for training and for evaluation.

Each of three ways ends in a set of ``PromptPair``: a writer in this process (``generate_pairs``), LLMs
(``generate_with_llms``), and files of other people (``import_pairs``).

splits.py           a set, split by split: each is written, or kept from the current set
writer.py           a request to a writer in this process, and its answer
offline.py          the offline writer, over the grammar of Janus-nano's world
split_phrases.py    the phrases of that grammar that each split may use
captions.py         retained concepts, with the captions that ship
parsing.py          reads drafts in the text of an answer
checks.py           rejects drafts: malformed, or near duplicates
wording.py          how a target prompt refers to the concept
answers.py          from the text of an answer to records, whoever wrote it
default_counts.py   how many prompts are written by default
generate.py         writes a set without LLMs

templates.py        the requests to LLMs
generation_plan.py  their calls, and what these will cost
answer_reader.py    their answers, also those that are cut off or refused
writer_stats.py     what each writer wrote, and what was kept
llm_writers.py      sends the calls, and writes a set of the answers
rounds.py           the writers of ``ecgvf build``, round by round

record_files.py     reads files of other people as records
tables.py           finds the prompts in records: which column is which field
hub_table.py        the same for a dataset on the Hub
importing.py        writes a set of them
"""
