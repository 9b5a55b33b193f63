"""Policies: which packets Pods may send and receive.

Reads NetworkPolicies, cluster-wide policies, Pods, Namespaces, Nodes, grants and the outcomes of Pods. A policy is
compiled into rules that speak of selections (`compile`, `admin`), and cluster-wide ones are put in order (`levels`); a
selection is a set of Pods by their labels, shared by all who name it, and is a Port_Group where Pods are restricted and
an Address_Set where they are the other end (`selections`, `members`); rules become ACLs of a Port_Group (`acls`), some
of which log (`mode`, `logs`). A Pod's cell decides in which selections the Pod is, so one Pod's label costs one cell,
whatever the number of policies.

Beside that, and not on the engine: `verdict` answers why one packet passes or not (`ends`, `reasons`), and `compare`
what a change of policies would allow or deny (`classes`, `workload`). The rows are not made of these.
"""
