/* Draws images from an exported model by TensorFlow's C API, without Python.

   draw VERSION_DIR (IMAGE_TENSOR COUNT NUM_INPUTS (INPUT_TENSOR FILE)...)... > images

   Each request draws COUNT images from NUM_INPUTS inputs, whose values are the bytes of files. A tensor
   is "operation:index", as in the signatures of saved_model.pb, which also have its type and shape; the
   first dimension is COUNT. The output is uint8 [COUNT, H, W, C] of each request, row by row. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>

#define MAX_INPUTS 16
#define MAX_DIMS 8

static void require(TF_Status* status, const char* what) {
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "%s: %s\n", what, TF_Message(status));
    exit(1);
  }
}

static void expect(int condition, const char* what, const char* received) {
  if (!condition) {
    fprintf(stderr, "expected %s, received %s\n", what, received);
    exit(2);
  }
}

/* Returns the output with a name such as "serving_default_seed:0". */
static TF_Output tensor_named(TF_Graph* graph, const char* name) {
  char operation[512];
  const char* colon = strrchr(name, ':');
  expect(colon && (size_t)(colon - name) < sizeof operation, "operation:index", name);
  memcpy(operation, name, colon - name);
  operation[colon - name] = 0;
  TF_Output output = {TF_GraphOperationByName(graph, operation), atoi(colon + 1)};
  expect(output.oper != NULL, "an operation of the graph", operation);
  return output;
}

/* Returns a tensor of the type and the shape of an input, with the bytes of a file. */
static TF_Tensor* read_tensor(TF_Graph* graph, TF_Status* status, TF_Output input, int64_t count, const char* path) {
  int64_t dims[MAX_DIMS];
  const int num_dims = TF_GraphGetTensorNumDims(graph, input, status);
  require(status, path);
  expect(0 < num_dims && num_dims <= MAX_DIMS, "1 to 8 dimensions", path);
  TF_GraphGetTensorShape(graph, input, dims, num_dims, status);
  require(status, path);
  dims[0] = count;
  const TF_DataType type = TF_OperationOutputType(input);
  size_t size = TF_DataTypeSize(type);
  for (int i = 0; i < num_dims; i++) size *= dims[i];
  TF_Tensor* tensor = TF_AllocateTensor(type, dims, num_dims, size);
  FILE* file = fopen(path, "rb");
  expect(file && fread(TF_TensorData(tensor), 1, size, file) == size && fgetc(file) == EOF,
         "a file of the input's size", path);
  fclose(file);
  return tensor;
}

/* Writes the images of one request to the standard output. Returns the number of its arguments. */
static int draw(TF_Graph* graph, TF_Session* session, TF_Status* status, char** request) {
  const int64_t count = atoll(request[1]);
  const int num_inputs = atoi(request[2]);
  expect(0 < num_inputs && num_inputs <= MAX_INPUTS, "1 to 16 inputs", request[2]);
  TF_Output inputs[MAX_INPUTS];
  TF_Tensor* values[MAX_INPUTS];
  for (int i = 0; i < num_inputs; i++) {
    inputs[i] = tensor_named(graph, request[3 + 2 * i]);
    values[i] = read_tensor(graph, status, inputs[i], count, request[4 + 2 * i]);
  }
  TF_Output image = tensor_named(graph, request[0]);
  TF_Tensor* drawn = NULL;
  TF_SessionRun(session, NULL, inputs, values, num_inputs, &image, &drawn, 1, NULL, 0, NULL, status);
  require(status, "draw");
  expect(TF_TensorType(drawn) == TF_UINT8 && TF_NumDims(drawn) == 4 && TF_Dim(drawn, 0) == count,
         "uint8 [COUNT, H, W, C]", request[0]);
  fwrite(TF_TensorData(drawn), 1, TF_TensorByteSize(drawn), stdout);
  fflush(stdout);
  TF_DeleteTensor(drawn);
  for (int i = 0; i < num_inputs; i++) TF_DeleteTensor(values[i]);
  return 3 + 2 * num_inputs;
}

int main(int argc, char** argv) {
  expect(argc >= 7, "VERSION_DIR (IMAGE_TENSOR COUNT NUM_INPUTS (INPUT_TENSOR FILE)...)...", "less");
  const char* tags[] = {"serve"};
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  require(status, "load");
  for (int i = 2; i + 2 < argc;) i += draw(graph, session, status, argv + i);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
