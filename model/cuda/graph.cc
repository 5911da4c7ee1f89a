#include "model/cuda/graph.h"

#include "model/cuda/cuda_check.h"

namespace vitower {

Graph::Graph(cudaStream_t stream, const std::function<void()>& enqueue) {
  CheckCuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  cudaGraph_t graph = nullptr;
  try {
    enqueue();
  } catch (...) {
    (void)cudaStreamEndCapture(stream, &graph);
    if (graph != nullptr) (void)cudaGraphDestroy(graph);
    throw;
  }
  CheckCuda(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  const cudaError_t error = cudaGraphInstantiate(&executable_, graph, 0);
  (void)cudaGraphDestroy(graph);
  CheckCuda(error, "cudaGraphInstantiate");
}

Graph::~Graph() {
  if (executable_ != nullptr) (void)cudaGraphExecDestroy(executable_);
}

void Graph::Launch(cudaStream_t stream) const { CheckCuda(cudaGraphLaunch(executable_, stream), "cudaGraphLaunch"); }

}  // namespace vitower
