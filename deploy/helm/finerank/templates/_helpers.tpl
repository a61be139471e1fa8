{{- define "finerank.name" -}}
{{- if contains "finerank" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-finerank" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "finerank.selector" -}}
app.kubernetes.io/name: finerank
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "finerank.labels" -}}
{{ include "finerank.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "finerank.createsSecret" -}}
{{- if and (not .Values.keys.existingSecret) (or .Values.keys.apiKeys .Values.keys.adminKeys .Values.keys.metricsKey) }}true{{ end }}
{{- end }}

{{- define "finerank.secret" -}}
{{- if .Values.keys.existingSecret }}{{ .Values.keys.existingSecret }}{{ else if include "finerank.createsSecret" . }}{{ include "finerank.name" . }}-keys{{ end }}
{{- end }}

{{- define "finerank.checkValues" -}}
{{- if and (eq .Values.auth "auto") (not .Values.keys.existingSecret) (not .Values.keys.apiKeys) }}
{{- fail "no API keys: set keys.existingSecret or keys.apiKeys; or auth=optional, to let every pod that reaches the service rank" }}
{{- end }}
{{- if not (has .Values.auth (list "auto" "optional")) }}
{{- fail (printf "auth=%v: must be auto or optional" .Values.auth) }}
{{- end }}
{{- if and .Values.autoscaling.enabled (not .Values.autoscaling.prometheusAddress) }}
{{- fail "autoscaling.enabled needs autoscaling.prometheusAddress" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (include "finerank.createsSecret" .) (not .Values.keys.metricsKey) }}
{{- fail "serviceMonitor.enabled needs keys.metricsKey where there are other keys" }}
{{- end }}
{{- end }}
