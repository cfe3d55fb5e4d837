{{- /* What the schema cannot say: values that do not go together, each refused in one line. */ -}}
{{- define "tsfd.checks" -}}
{{- with .Values }}
{{- if ne (len (compact (list .models.release.reference .models.claim .models.oci .models.s3.uri))) 1 }}
{{- fail "Set one of models.release.reference, models.claim, models.oci and models.s3.uri: whence the models come." }}
{{- end }}
{{- if and .models.release.reference (not .models.release.key) }}
{{- fail "models.release wants its key: a config map with release.pub, who signs." }}
{{- end }}
{{- if and .models.release.reference (not .networkPolicy.egress) }}
{{- fail "models.release wants networkPolicy.egress: the way to the registry and DNS is shut." }}
{{- end }}
{{- if and .models.s3.uri (not .networkPolicy.egress) }}
{{- fail "models.s3.uri wants networkPolicy.egress: the way to the store and DNS is shut." }}
{{- end }}
{{- if and .traces (not .networkPolicy.egress) }}
{{- fail "traces wants networkPolicy.egress: the way to the collector and DNS is shut." }}
{{- end }}
{{- if and .keda.enabled (eq (int .replicas) 0) }}
{{- fail "keda.enabled wants replicas of at least 1: without a pod nothing is measured." }}
{{- end }}
{{- if and .keda.enabled (gt (int .replicas) (int .keda.maxReplicas)) }}
{{- fail "keda.maxReplicas is less than replicas, the fewest that KEDA keeps." }}
{{- end }}
{{- end }}
{{- end }}
