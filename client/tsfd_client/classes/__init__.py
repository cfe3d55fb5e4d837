"""Classes of one's own, from marked nuclei.

labels          names and colours of classes, and the two labels that are none
marks           read marks: from the page, from QuPath, from a table; assignment: of which result
matching        find the nucleus of each mark
features        ask the server for the network's features of nuclei
kept_features   features beside a result; keep: for all its nuclei
marked          nuclei with features, and what is marked of them
logistic        fit; validation: on what was left out; scores: F1 and intervals
judgement       whether they are better than the network's
fit             learn classes; report: say what was learned
head            the file of classes, and what it makes of features
adapt           from marks to a file of classes
relabel         from a result and such a file to a result with other classes
"""
