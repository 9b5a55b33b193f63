{{/* Parts that the schemas of several CustomResourceDefinitions share. */}}

{{- define "kube-ovn.crd.metadata" -}}
labels:
  {{- include "kube-ovn.labels" . | nindent 2 }}
annotations:
  # Removing the definition would remove every object of it, and with them every address in use.
  helm.sh/resource-policy: keep
{{- end -}}

{{/* A text in CEL that has two parts at most, cut at a separator: as a list of fixed size, and each part. What `split`
     makes is as long as the text may be, to the API server's estimate of what a rule costs. */}}
{{- define "kube-ovn.crd.first" -}}
{{ index . 0 }}.substring(0, {{ index . 0 }}.indexOf('{{ index . 1 }}'))
{{- end -}}

{{- define "kube-ovn.crd.second" -}}
{{ index . 0 }}.substring({{ index . 0 }}.indexOf('{{ index . 1 }}') + {{ len (index . 1) }})
{{- end -}}

{{- define "kube-ovn.crd.parts" -}}
({{ index . 0 }}.contains('{{ index . 1 }}') ? [{{ include "kube-ovn.crd.first" . }}, {{ include "kube-ovn.crd.second" . }}] : [{{ index . 0 }}])
{{- end -}}

{{/* A text that a user writes, and how many characters it may have: without control characters and without ends of
     lines, as in `kube_ovn.model.text`. What the controller writes into a status is not bounded so. */}}
{{- define "kube-ovn.crd.text" -}}
type: string
maxLength: {{ . }}
pattern: '^[^\p{Cc}\p{Zl}\p{Zp}]*$'
{{- end -}}

{{/* An expression of OVN, which may have several lines. Whether OVN understands it is said by the status. */}}
{{- define "kube-ovn.crd.expression" -}}
type: string
maxLength: 8192
pattern: '^([^\p{Cc}\p{Zl}\p{Zp}]|[\t\n\r])*$'
{{- end -}}

{{- define "kube-ovn.crd.conditions" -}}
description: >-
  What the controller found out about this object, one entry a type. Ready says whether it works, Validated whether its
  spec can be put into effect; the message says what to do when it cannot.
type: array
maxItems: 32
x-kubernetes-list-type: map
x-kubernetes-list-map-keys: [type]
items:
  type: object
  required: [type, status]
  properties:
    type:
      description: What this entry is about, such as Ready or Validated.
      type: string
      minLength: 1
      maxLength: 316
    status:
      description: Whether it is so, as True, False or Unknown.
      type: string
      enum: ["True", "False", Unknown]
    reason:
      description: Why, in one word for programs, such as ValidateLogicalSwitchFailed.
      type: string
      maxLength: 1024
    message:
      description: Why, in a sentence for people. Empty when there is nothing to say.
      type: string
      maxLength: 32768
    observedGeneration:
      description: >-
        metadata.generation of the object that was looked at. A number below the present generation means that the newest
        change of the spec was not looked at yet.
      type: integer
      format: int64
      minimum: 0
    lastUpdateTime:
      description: When this entry was last written, such as 2026-01-31T12:00:00Z.
      type: string
      format: date-time
    lastTransitionTime:
      description: When the status of this entry last changed from one value to another, such as 2026-01-31T12:00:00Z.
      type: string
      format: date-time
{{- end -}}

{{- define "kube-ovn.crd.labelSelector" -}}
type: object
x-kubernetes-map-type: atomic
properties:
  matchLabels:
    description: >-
      Labels an object must have, each with exactly this value, such as {"team": "blue"}. An empty selector selects every
      object.
    type: object
    additionalProperties:
      {{- include "kube-ovn.crd.text" 63 | nindent 6 }}
  matchExpressions:
    description: Conditions on labels; all of them, and all of matchLabels, must hold.
    type: array
    maxItems: 50
    x-kubernetes-list-type: atomic
    items:
      type: object
      required: [key, operator]
      properties:
        key:
          description: Name of the label the condition is about, such as team.
          {{- include "kube-ovn.crd.text" 317 | nindent 10 }}
          minLength: 1
        operator:
          description: >-
            How the label is compared: In and NotIn compare its value with values; Exists and DoesNotExist ask only whether the
            label is there.
          type: string
          enum: [In, NotIn, Exists, DoesNotExist]
        values:
          description: Values that In and NotIn compare with, such as ["blue", "green"]. Empty for Exists and DoesNotExist.
          type: array
          maxItems: 100
          x-kubernetes-list-type: atomic
          items:
            {{- include "kube-ovn.crd.text" 63 | nindent 12 }}
      x-kubernetes-validations:
        - rule: >-
            (self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)
          messageExpression: >-
            'operator ' + self.operator + (self.operator in ['In', 'NotIn'] ? ' needs at least one of values; add it'
            : ' takes no values; remove them')
{{- end -}}
