#include "model/cuda/gemm.h"

#include <cublasLt.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "model/cuda/cuda_check.h"
#include "model/cuda/kernels.h"
#include "model/cuda/row_buckets.h"

namespace vitower {
namespace {

constexpr size_t kWorkspaceBytes = 64 << 20;
void CheckBlas(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) throw CudaError(absl::StrCat(what, ": ", cublasLtGetStatusString(status)));
}

cudaDataType_t DataType(Element element) {
  return element == Element::kBf16 ? CUDA_R_16BF : element == Element::kFp16 ? CUDA_R_16F : CUDA_R_32F;
}

}  // namespace

// A call as cuBLASLt sees it. It knows columns only, so the row-major y = x * weight^T is y^T = weight * x^T to it.
struct Gemm::Problem {
  Problem(Element element, const GemmCall& call) : residual(call.epilogue == Epilogue::kBiasResidual) {
    const auto [_, __, out, in] = *call.linear;
    const cudaDataType_t type = DataType(element);
    CheckBlas(cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescInit");
    const cublasOperation_t transpose = CUBLAS_OP_T;
    Set(CUBLASLT_MATMUL_DESC_TRANSA, transpose);
    const bool gelu = call.epilogue == Epilogue::kBiasGelu && element != Element::kFp32;
    Set(CUBLASLT_MATMUL_DESC_EPILOGUE, gelu ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_BIAS);
    Set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, call.linear->bias);
    CheckBlas(cublasLtMatrixLayoutInit(&weight, type, in, out, in), "cublasLtMatrixLayoutInit");
    CheckBlas(cublasLtMatrixLayoutInit(&x, type, in, call.rows, in), "cublasLtMatrixLayoutInit");
    CheckBlas(cublasLtMatrixLayoutInit(&y, type, out, call.rows, out), "cublasLtMatrixLayoutInit");
  }

  template <typename Value>
  void Set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    CheckBlas(cublasLtMatmulDescSetAttribute(&operation, attribute, &value, sizeof(value)),
              "cublasLtMatmulDescSetAttribute");
  }

  cublasStatus_t Multiply(cublasLtHandle_t handle, const GemmCall& call, const Algorithm& algorithm, void* workspace,
                          cudaStream_t stream) {
    const float one = 1;
    const float beta = residual ? 1 : 0;
    cublasLtMatmulAlgo_t algo;
    std::memcpy(&algo, &algorithm, sizeof(algo));
    return cublasLtMatmul(handle, &operation, &one, call.linear->weight, &weight, call.x, &x, &beta, call.y, &y, call.y,
                          &y, &algo, workspace, kWorkspaceBytes, stream);
  }

  Algorithm FirstChoice(cublasLtHandle_t handle) {
    cublasLtMatmulPreferenceOpaque_t preference;
    CheckBlas(cublasLtMatmulPreferenceInit(&preference), "cublasLtMatmulPreferenceInit");
    const size_t bytes = kWorkspaceBytes;
    CheckBlas(cublasLtMatmulPreferenceSetAttribute(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                                   sizeof(bytes)),
              "cublasLtMatmulPreferenceSetAttribute");
    cublasLtMatmulHeuristicResult_t result;
    int found = 0;
    CheckBlas(cublasLtMatmulAlgoGetHeuristic(handle, &operation, &weight, &x, &y, &y, &preference, 1, &result, &found),
              "cublasLtMatmulAlgoGetHeuristic");
    if (found == 0) throw CudaError("cuBLASLt has no algorithm for a Linear of this tower");
    static_assert(sizeof(result.algo) == sizeof(Algorithm));
    Algorithm algorithm;
    std::memcpy(&algorithm, &result.algo, sizeof(algorithm));
    return algorithm;
  }

  bool residual;
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t weight;
  cublasLtMatrixLayoutOpaque_t x;
  cublasLtMatrixLayoutOpaque_t y;
};

Gemm::Gemm(Element element) : element_(element) {
  workspace_.Reserve(kWorkspaceBytes);
  CheckBlas(cublasLtCreate(&handle_), "cublasLtCreate");
}

Gemm::~Gemm() { (void)cublasLtDestroy(handle_); }

const Gemm::Algorithm& Gemm::Choice(const Problem& problem, const GemmCall& call) {
  const Shape shape{GemmRows(call.rows), call.linear->out, call.linear->in, call.epilogue};
  const auto known = choices_.find(shape);
  if (known != choices_.end()) return known->second;
  Problem whole = problem;
  if (shape.rows != call.rows) {
    GemmCall larger = call;
    larger.rows = shape.rows;
    whole = Problem(element_, larger);
  }
  return choices_[shape] = whole.FirstChoice(handle_);
}

void Gemm::Prepare(const DeviceLinear& linear, Epilogue epilogue, int64_t largest_rows) {
  for (const int64_t rows : AllGemmRows(largest_rows)) {
    const GemmCall call{&linear, nullptr, nullptr, rows, epilogue};
    (void)Choice(Problem(element_, call), call);
  }
}

void Gemm::Run(const GemmCall& call, cudaStream_t stream) {
  Problem problem(element_, call);
  if (problem.Multiply(handle_, call, Choice(problem, call), workspace_.data(), stream) != CUBLAS_STATUS_SUCCESS) {
    // An algorithm of more rows that does not take these.
    CheckBlas(problem.Multiply(handle_, call, problem.FirstChoice(handle_), workspace_.data(), stream),
              "cublasLtMatmul");
  }
  if (element_ == Element::kFp32 && call.epilogue == Epilogue::kBiasGelu) {
    CheckCuda(LaunchGelu(element_, GeluKind::kTanh, call.y, call.rows * call.linear->out, stream), "GELU");
  }
}

}  // namespace vitower
