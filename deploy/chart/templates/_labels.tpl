{{- define "tsfd.labels" -}}
app.kubernetes.io/name: tsfd
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
