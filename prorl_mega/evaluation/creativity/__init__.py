"""The Creativity Index of answers: how much of a text is not copied, word for word, from a corpus.

    L-uniqueness      uniq(x, L) = share of the words of x that are in no run of at least L words which the corpus has
    Creativity Index  CI(x) = Σ_{L=5}^{12} uniq(x, L), from 0, a copy, to 8, nothing copied

Lu et al., "AI as Humanity's Salieri" (arXiv 2410.04265), define L-uniqueness and add it up over a range of L; their DJ
Search finds the runs with two pointers from 5 words on. ProRL (arXiv 2505.24864, figures 1 and 3) reports means from
2.6 to 7.6, base 3.84 → 4.70, without saying over which L. 5 to 12 is our reading: the lower end is DJ Search's default,
the upper one that of later code of one of its authors, which adds up coverage in the same way (N-Gram Coverage Attack,
Hallinan et al. 2025), and eight terms fit ProRL's values. Matches here are exact; the paper's second variant,
near-verbatim matches by word embeddings, is not computed.
"""
