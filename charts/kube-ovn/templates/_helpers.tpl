{{- define "kube-ovn.labels" -}}
app.kubernetes.io/part-of: kube-ovn
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "kube-ovn.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* OVSDB remotes of all addresses: (list $ 6641) */}}
{{- define "kube-ovn.remotes" -}}
{{- $port := index . 1 -}}
{{- $remotes := list -}}
{{- range (index . 0).Values.ovn.centralAddress -}}
{{- $remotes = append $remotes (printf "tcp:%s:%d" (ternary (printf "[%s]" .) . (contains ":" .)) (int $port)) -}}
{{- end -}}
{{- join "," $remotes -}}
{{- end -}}

{{/* Environment of every part that talks to the API server. */}}
{{- define "kube-ovn.kubernetesEnv" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- if .Values.kubernetesServiceHost }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ .Values.kubernetesServiceHost | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .Values.kubernetesServicePort | quote }}
{{- end }}
{{- end -}}

{{/* Where health and metrics are served; with hostNetwork the Pod's address is the node's. */}}
{{- define "kube-ovn.metricsAddress" -}}
{{- index (dict "node" "$(POD_IP)" "loopback" "127.0.0.1" "all" "") .Values.metrics.bind -}}
{{- end -}}

{{/* Probes of a part that serves /readyz and /livez. The kubelet asks at the Pod's address unless told otherwise. */}}
{{- define "kube-ovn.probes" -}}
{{- $host := ternary "host: 127.0.0.1, " "" (eq .Values.metrics.bind "loopback") -}}
readinessProbe:
  httpGet: { {{- $host -}} path: /readyz, port: http}
  periodSeconds: 2
  timeoutSeconds: 5
livenessProbe:
  httpGet: { {{- $host -}} path: /livez, port: http}
  initialDelaySeconds: 10
  periodSeconds: 7
  timeoutSeconds: 5
  failureThreshold: 5
{{- end -}}

{{/* What all Pods of this chart share: the nodes' network, every node, whatever its taints. */}}
{{- define "kube-ovn.podSpec" -}}
hostNetwork: true
dnsPolicy: Default
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
tolerations:
  - operator: Exists
{{- end -}}

{{/* More tolerations, for Pods of Deployments: they leave a dead node. Of all tolerations that fit a taint the shortest
     counts; without these, Exists would keep them there for ever. */}}
{{- define "kube-ovn.leaveDeadNode" -}}
- {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 60}
- {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 60}
{{- end -}}
