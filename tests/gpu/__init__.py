"""What only a GPU can show, ready to be run in one short lease: `python -m tests.gpu`.

Steps run one after another, each in its own process and with its own limit of time, the most
valuable first; `--dry` runs all of them on any machine, in a minute, at tiny sizes. No more is
needed than torch, numpy, pandas, scipy, scikit-learn, safetensors, jaxtyping, tqdm and pytest.
"""
