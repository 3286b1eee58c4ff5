"""KFP's schema of a compiled pipeline: every message, its fields and their types.

The table says what `pipeline_spec.proto` and `kubernetes_executor_config.proto` say (KFP 2.17, and
what its backend has had since). A test holds it equal to kfp's own packages.
"""

__all__ = ["ENUMS", "FORMS"]

# [x] is a list of x, {x} a mapping from any name to x.
_TABLE = """
ArtifactIteratorSpec items:ArtifactIteratorSpec.ItemsSpec itemInput:text
ArtifactIteratorSpec.ItemsSpec inputArtifact:text
ArtifactTypeSchema schemaTitle:text schemaUri:text instanceSchema:text schemaVersion:text
ComponentInputsSpec artifacts:{ComponentInputsSpec.ArtifactSpec}
  parameters:{ComponentInputsSpec.ParameterSpec}
ComponentInputsSpec.ArtifactSpec artifactType:ArtifactTypeSchema isArtifactList:bool
  isOptional:bool description:text
ComponentInputsSpec.ParameterSpec type:OldType parameterType:Type defaultValue:any isOptional:bool
  description:text literals:[any]
ComponentOutputsSpec artifacts:{ComponentOutputsSpec.ArtifactSpec}
  parameters:{ComponentOutputsSpec.ParameterSpec}
ComponentOutputsSpec.ArtifactSpec artifactType:ArtifactTypeSchema
  properties:{ValueOrRuntimeParameter} customProperties:{ValueOrRuntimeParameter} metadata:mapping
  isArtifactList:bool description:text
ComponentOutputsSpec.ParameterSpec type:OldType parameterType:Type description:text
ComponentRef name:text
ComponentSpec inputDefinitions:ComponentInputsSpec outputDefinitions:ComponentOutputsSpec
  dag:DagSpec executorLabel:text singlePlatformSpecs:[SinglePlatformSpec]
  taskConfigPassthroughs:[TaskConfigPassthrough]
ConfigMapAsEnv configMapName:text keyToEnv:[ConfigMapKeyToEnvMap]
  configMapNameParameter:InputParameterSpec optional:bool
ConfigMapKeyToEnvMap configMapKey:text envVar:text
ConfigMapAsVolume configMapName:text mountPath:text optional:bool
  configMapNameParameter:InputParameterSpec
DagOutputsSpec artifacts:{DagOutputArtifactSpec} parameters:{DagOutputParameterSpec}
ArtifactSelectorSpec producerSubtask:text outputArtifactKey:text
DagOutputArtifactSpec artifactSelectors:[ArtifactSelectorSpec]
DagOutputParameterSpec valueFromParameter:ParameterSelectorSpec
  valueFromOneof:ParameterSelectorsSpec
ParameterSelectorSpec producerSubtask:text outputParameterKey:text
ParameterSelectorsSpec parameterSelectors:[ParameterSelectorSpec]
DagSpec tasks:{PipelineTaskSpec} outputs:DagOutputsSpec
EmptyDirMount volumeName:text mountPath:text medium:text sizeLimit:text
EnabledSharedMemory volumeName:text size:text
FieldPathAsEnv name:text fieldPath:text
GenericEphemeralVolume volumeName:text mountPath:text accessModes:[text] size:text
  defaultStorageClass:bool storageClassName:text metadata:PodMetadata
ImagePullSecret secretName:text secretNameParameter:InputParameterSpec
InitContainer name:text image:text command:[text] args:[text] env:[InitContainer.EnvVar]
  volumeMounts:[VolumeMount] restartPolicy:text resources:ResourceRequirements
InitContainer.EnvVar name:text value:text
ResourceRequirements requests:{text} limits:{text}
VolumeMount volumeName:text mountPath:text
KubernetesExecutorConfig secretAsVolume:[SecretAsVolume] secretAsEnv:[SecretAsEnv]
  pvcMount:[PvcMount] nodeSelector:NodeSelector podMetadata:PodMetadata
  imagePullSecret:[ImagePullSecret] imagePullPolicy:text configMapAsVolume:[ConfigMapAsVolume]
  configMapAsEnv:[ConfigMapAsEnv] activeDeadlineSeconds:integer fieldPathAsEnv:[FieldPathAsEnv]
  tolerations:[Toleration] genericEphemeralVolume:[GenericEphemeralVolume]
  nodeAffinity:[NodeAffinityTerm] podAffinity:[PodAffinityTerm]
  enabledSharedMemory:EnabledSharedMemory emptyDirMounts:[EmptyDirMount]
  securityContext:SecurityContext initContainers:[InitContainer]
KubernetesWorkspaceConfig pvcSpecPatch:mapping
NodeAffinityTerm matchExpressions:[SelectorRequirement] matchFields:[SelectorRequirement]
  weight:integer nodeAffinityJson:InputParameterSpec
NodeSelector labels:{text} nodeSelectorJson:InputParameterSpec
ParameterIteratorSpec items:ParameterIteratorSpec.ItemsSpec itemInput:text
ParameterIteratorSpec.ItemsSpec raw:text inputParameter:text
PipelineConfig resourceTtlOnCompletion:integer workspace:WorkspaceConfig
  resourceTtlOnSuccess:integer resourceTtlOnFailure:integer activeDeadlineSeconds:integer
PipelineDeploymentConfig executors:{ExecutorSpec}
AIPlatformCustomJobSpec customJob:mapping
ExecutorSpec container:PipelineContainerSpec importer:ImporterSpec resolver:ResolverSpec
  customJob:AIPlatformCustomJobSpec
ImporterSpec artifactUri:ValueOrRuntimeParameter typeSchema:ArtifactTypeSchema
  properties:{ValueOrRuntimeParameter} customProperties:{ValueOrRuntimeParameter} reimport:bool
  metadata:mapping downloadToWorkspace:bool
PipelineContainerSpec image:text command:[text] args:[text] lifecycle:Lifecycle
  resources:ResourceSpec env:[PipelineContainerSpec.EnvVar]
PipelineContainerSpec.EnvVar name:text value:text
Lifecycle preCacheCheck:Exec
Exec command:[text] args:[text]
ResourceSpec cpuLimit:number memoryLimit:number cpuRequest:number memoryRequest:number
  resourceCpuLimit:text resourceMemoryLimit:text resourceCpuRequest:text
  resourceMemoryRequest:text accelerator:AcceleratorConfig
AcceleratorConfig type:text count:integer resourceType:text resourceCount:text
ResolverSpec outputArtifactQueries:{ArtifactQuerySpec}
ArtifactQuerySpec filter:text limit:integer
PipelineInfo name:text displayName:text description:text
PipelineSpec pipelineInfo:PipelineInfo deploymentSpec:mapping sdkVersion:text schemaVersion:text
  components:{ComponentSpec} root:ComponentSpec defaultPipelineRoot:text
PipelineTaskInfo name:text
PipelineTaskSpec taskInfo:PipelineTaskInfo inputs:TaskInputsSpec dependentTasks:[text]
  cachingOptions:CachingOptions componentRef:ComponentRef triggerPolicy:TriggerPolicy
  artifactIterator:ArtifactIteratorSpec parameterIterator:ParameterIteratorSpec
  retryPolicy:RetryPolicy iteratorPolicy:IteratorPolicy
CachingOptions enableCache:bool cacheKey:text
IteratorPolicy parallelismLimit:integer
RetryPolicy maxRetryCount:integer backoffDuration:duration backoffFactor:number
  backoffMaxDuration:duration
TriggerPolicy condition:text strategy:Strategy
PlatformDeploymentConfig executors:{mapping}
PlatformSpec platforms:{SinglePlatformSpec}
PodAffinityTerm matchPodExpressions:[SelectorRequirement] matchPodLabels:{text} topologyKey:text
  namespaces:[text] matchNamespaceExpressions:[SelectorRequirement] matchNamespaceLabels:{text}
  weight:integer anti:bool
PodMetadata labels:{text} annotations:{text}
PvcMount taskOutputParameter:TaskOutputParameterSpec constant:text componentInputParameter:text
  mountPath:text pvcNameParameter:InputParameterSpec subPath:text
SecretAsEnv secretName:text keyToEnv:[SecretKeyToEnvMap] optional:bool
  secretNameParameter:InputParameterSpec
SecretKeyToEnvMap secretKey:text envVar:text
SecretAsVolume secretName:text mountPath:text optional:bool secretNameParameter:InputParameterSpec
SecurityContext runAsUser:integer runAsGroup:integer runAsNonRoot:bool
SelectorRequirement key:text operator:text values:[text]
SinglePlatformSpec deploymentSpec:PlatformDeploymentConfig platform:text config:mapping
  pipelineConfig:PipelineConfig
TaskConfigPassthrough field:Passthrough applyToTask:bool
TaskInputsSpec parameters:{InputParameterSpec} artifacts:{InputArtifactSpec}
InputArtifactSpec taskOutputArtifact:TaskOutputArtifactSpec componentInputArtifact:text
TaskOutputArtifactSpec producerTask:text outputArtifactKey:text
InputParameterSpec taskOutputParameter:TaskOutputParameterSpec
  runtimeValue:ValueOrRuntimeParameter componentInputParameter:text
  taskFinalStatus:TaskFinalStatus parameterExpressionSelector:text
TaskFinalStatus producerTask:text
TaskOutputParameterSpec producerTask:text outputParameterKey:text
Toleration key:text operator:text value:text effect:text tolerationSeconds:integer
  tolerationJson:InputParameterSpec
Value intValue:integer doubleValue:number stringValue:text
ValueOrRuntimeParameter constantValue:Value runtimeParameter:text constant:any
WorkspaceConfig size:text kubernetes:KubernetesWorkspaceConfig
"""
ENUMS = {
    "OldType": "PRIMITIVE_TYPE_UNSPECIFIED INT DOUBLE STRING",
    "Passthrough": "NONE RESOURCES ENV KUBERNETES_AFFINITY KUBERNETES_TOLERATIONS"
    " KUBERNETES_NODE_SELECTOR KUBERNETES_VOLUMES",
    "Strategy": "TRIGGER_STRATEGY_UNSPECIFIED ALL_UPSTREAM_TASKS_SUCCEEDED"
    " ALL_UPSTREAM_TASKS_COMPLETED",
    "Type": "PARAMETER_TYPE_ENUM_UNSPECIFIED NUMBER_DOUBLE NUMBER_INTEGER STRING BOOLEAN LIST"
    " STRUCT TASK_FINAL_STATUS TASK_CONFIG",
}


def _forms() -> dict[str, dict[str, str]]:
    forms: dict[str, dict[str, str]] = {}
    fields: dict[str, str] = {}
    for word in _TABLE.split():
        name, colon, form = word.partition(":")
        if colon:
            fields[name] = form
        else:
            fields = forms[name] = {}
    return forms


FORMS = _forms()  # message -> field -> form
