{{/*
The objects' name: `trireme-operator` for a release called so or `trireme`, else with the release in front.
*/}}
{{- define "trireme.fullname" -}}
{{- $name := default "trireme-operator" .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else if hasPrefix (printf "%s-" .Release.Name) $name }}
{{- $name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/*
The name of what has no namespace. Operators limited to namespaces may be several in a cluster; of the unlimited, a second one is refused by the clash.
*/}}
{{- define "trireme.clusterName" -}}
{{- if .Values.watchNamespaces }}
{{- printf "%s-%s" .Release.Namespace (include "trireme.fullname" .) }}
{{- else }}
{{- include "trireme.fullname" . }}
{{- end }}
{{- end }}

{{- define "trireme.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "trireme.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/*
By these the Deployment, the budget and the policy find the pods. They cannot change in the life of a release.
*/}}
{{- define "trireme.selectorLabels" -}}
app.kubernetes.io/name: {{ default "trireme-operator" .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/*
On every object.
*/}}
{{- define "trireme.labels" -}}
{{- $own := include "trireme.selectorLabels" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/part-of" "trireme" }}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- merge $own .Values.commonLabels | toYaml }}
{{- end }}

{{/*
On the operator's pods: without what changes with every version of the chart alone. By trireme.dev/operator a store's NetworkPolicy lets the operator in.
*/}}
{{- define "trireme.podLabels" -}}
{{- $own := omit (include "trireme.labels" . | fromYaml) "helm.sh/chart" }}
{{- $_ := set $own "trireme.dev/operator" "true" }}
{{- merge $own .Values.podLabels | toYaml }}
{{- end }}

{{/*
An image's name, from `repository`, `tag`, `digest` and the version that stands for an empty tag.
*/}}
{{- define "trireme.image" -}}
{{- if .image.digest }}
{{- printf "%s@%s" .image.repository .image.digest }}
{{- else }}
{{- printf "%s:%s" .image.repository (default .version .image.tag) }}
{{- end }}
{{- end }}

{{/*
The constraints, each with the release's own pods where it does not say which.
*/}}
{{- define "trireme.topologySpreadConstraints" -}}
{{- $selector := dict "matchLabels" (include "trireme.selectorLabels" . | fromYaml) }}
{{- range .Values.topologySpreadConstraints }}
- {{ merge (deepCopy .) (dict "labelSelector" $selector) | toYaml | nindent 2 | trim }}
{{- end }}
{{- end }}
