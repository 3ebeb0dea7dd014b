/* Draws images from an exported model by TensorFlow's C API, without Python.

   draw VERSION_DIR (SEED_TENSOR LABEL_TENSOR|- IMAGE_TENSOR COUNT NUM_CLASSES)... > images

   Each group of five arguments is a request for COUNT images. Image i has the seed i. If the model has
   classes, it has the label i modulo NUM_CLASSES. A tensor is "operation:index", as in the signatures
   of saved_model.pb. The output is uint8 [COUNT, H, W, C] of each request, row by row. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>

static void require(TF_Status* status, const char* what) {
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "%s: %s\n", what, TF_Message(status));
    exit(1);
  }
}

/* Returns the output with a name such as "serving_default_seed:0". */
static TF_Output tensor_named(TF_Graph* graph, const char* name) {
  char operation[512];
  const char* colon = strrchr(name, ':');
  if (!colon || (size_t)(colon - name) >= sizeof operation) {
    fprintf(stderr, "expected operation:index, received %s\n", name);
    exit(2);
  }
  memcpy(operation, name, colon - name);
  operation[colon - name] = 0;
  TF_Output output = {TF_GraphOperationByName(graph, operation), atoi(colon + 1)};
  if (!output.oper) {
    fprintf(stderr, "expected an operation of the graph, received %s\n", operation);
    exit(2);
  }
  return output;
}

static TF_Tensor* seeds(int64_t count) {
  TF_Tensor* tensor = TF_AllocateTensor(TF_INT64, &count, 1, count * sizeof(int64_t));
  for (int64_t i = 0; i < count; i++) ((int64_t*)TF_TensorData(tensor))[i] = i;
  return tensor;
}

static TF_Tensor* labels(int64_t count, int classes) {
  TF_Tensor* tensor = TF_AllocateTensor(TF_INT32, &count, 1, count * sizeof(int32_t));
  for (int64_t i = 0; i < count; i++) ((int32_t*)TF_TensorData(tensor))[i] = i % classes;
  return tensor;
}

/* Writes the images of one request to the standard output. */
static void draw(TF_Graph* graph, TF_Session* session, TF_Status* status, char** request) {
  const int64_t count = atoll(request[3]);
  TF_Output inputs[2] = {tensor_named(graph, request[0])};
  TF_Tensor* values[2] = {seeds(count)};
  int num_inputs = 1;
  if (strcmp(request[1], "-")) {
    inputs[num_inputs] = tensor_named(graph, request[1]);
    values[num_inputs++] = labels(count, atoi(request[4]));
  }
  TF_Output image = tensor_named(graph, request[2]);
  TF_Tensor* drawn = NULL;
  TF_SessionRun(session, NULL, inputs, values, num_inputs, &image, &drawn, 1, NULL, 0, NULL, status);
  require(status, "draw");
  if (TF_TensorType(drawn) != TF_UINT8 || TF_NumDims(drawn) != 4 || TF_Dim(drawn, 0) != count) {
    fprintf(stderr, "expected uint8 [%lld, H, W, C]\n", (long long)count);
    exit(1);
  }
  fwrite(TF_TensorData(drawn), 1, TF_TensorByteSize(drawn), stdout);
  fflush(stdout);
  TF_DeleteTensor(drawn);
  for (int i = 0; i < num_inputs; i++) TF_DeleteTensor(values[i]);
}

int main(int argc, char** argv) {
  if (argc < 7 || (argc - 2) % 5) {
    fprintf(stderr, "usage: draw VERSION_DIR (SEED_TENSOR LABEL_TENSOR|- IMAGE_TENSOR COUNT NUM_CLASSES)...\n");
    return 2;
  }
  const char* tags[] = {"serve"};
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  require(status, "load");
  for (int i = 2; i < argc; i += 5) draw(graph, session, status, argv + i);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
