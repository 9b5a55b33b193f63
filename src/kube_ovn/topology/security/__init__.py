"""SecurityGroups: which packets Pods that name groups may send and receive.

Reads SecurityGroups, Pods, Nodes, grants and the outcomes of Pods. A group is compiled into rules (`compile`); rules
get priorities so that of two with one priority the one that drops counts (`levels`), and become ACLs of the group's
Port_Group (`acls`). A Pod's cell says in which groups the Pod is (`membership`), so a label or an annotation of one Pod
costs one cell. `define` joins the parts, and `report` says what users are told.
"""
