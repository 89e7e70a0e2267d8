{{- define "yadokari.labels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: yadokari
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "yadokari.cacheServer" -}}
{{ printf "%s-cache-server" .Release.Name | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "yadokari.cacheServer.selector" -}}
app.kubernetes.io/name: cache-server
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "yadokari.warmer" -}}
{{ printf "%s-warmer" .Release.Name | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "yadokari.warmer.selector" -}}
app.kubernetes.io/name: warmer
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "yadokari.tag" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "yadokari.warmer.claim" -}}
{{ .Values.warmer.cache.existingClaim | default (include "yadokari.warmer" .) }}
{{- end }}

{{- define "yadokari.warmer.pod" -}}
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  seccompProfile: {type: RuntimeDefault}
containers:
  - name: warmer
    image: {{ .Values.image.registry }}/warmer:{{ include "yadokari.tag" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args:
      - --cache-dir=/cache
      - --max-bytes={{ .Values.warmer.cache.maxBytes }}
      {{- if eq .Values.warmer.kind "daemonSet" }}
      - --interval={{ .Values.warmer.interval }}
      - --listen=0.0.0.0:9090
      {{- end }}
      {{- range .Values.warmer.images }}
      - {{ printf "--image=%s" . | quote }}
      {{- end }}
      {{- range .Values.warmer.extraArgs }}
      - {{ . | quote }}
      {{- end }}
    {{- if eq .Values.warmer.kind "daemonSet" }}
    ports:
      - {name: http, containerPort: 9090}
    livenessProbe:
      httpGet: {path: /healthz, port: http}
      periodSeconds: 30
    readinessProbe:
      httpGet: {path: /readyz, port: http}
      periodSeconds: 30
    {{- end }}
    resources: {{ toYaml .Values.warmer.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    volumeMounts:
      - {name: cache, mountPath: /cache}
      - {name: tmp, mountPath: /tmp}
      {{- if .Values.warmer.registrySecret }}
      - {name: docker-config, mountPath: /kaniko/.docker, readOnly: true}
      {{- end }}
volumes:
  - name: cache
    {{- if and .Values.warmer.cache.hostPath (eq .Values.warmer.kind "daemonSet") }}
    hostPath: {path: {{ .Values.warmer.cache.hostPath | quote }}, type: DirectoryOrCreate}
    {{- else }}
    persistentVolumeClaim: {claimName: {{ include "yadokari.warmer.claim" . }}}
    {{- end }}
  - name: tmp
    emptyDir: {}
  {{- with .Values.warmer.registrySecret }}
  - name: docker-config
    secret:
      secretName: {{ . }}
      items:
        - {key: .dockerconfigjson, path: config.json}
  {{- end }}
{{- with .Values.warmer.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.warmer.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}
