#include "model/linear.h"

#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <optional>

#include "model/isa_limits.h"

namespace vitower {
namespace {

constexpr int64_t kMultipliedRowsPerTask =
    252;  // so many rows of x stay in a cache while panels pass by; a multiple of 6
constexpr int64_t kTasksPerThread = 3;

// oneDNN's operators as ATen registers them. Called boxed, so that a version with other argument types than another's
// still fits; one that does not fit throws, and OneDnnWorks says so.
class OneDnnOps final {
 public:
  static const OneDnnOps& Get() {
    static const OneDnnOps ops;
    return ops;
  }
  bool found() const { return pack_ && linear_; }

  at::Tensor Pack(const at::Tensor& weight) const { return Call(*pack_, {weight, c10::IValue()}); }
  at::Tensor Run(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const char* activation,
                 const char* algorithm) const {
    const c10::List<std::optional<at::Scalar>> none;
    return Call(*linear_, {x, weight, bias, activation, none, algorithm});
  }

 private:
  OneDnnOps() : pack_(Find("mkldnn::_reorder_linear_weight", "")), linear_(Find("mkldnn::_linear_pointwise", "")) {}

  static std::optional<c10::OperatorHandle> Find(const char* name, const char* overload) {
    return c10::Dispatcher::singleton().findSchema({name, overload});
  }
  static at::Tensor Call(const c10::OperatorHandle& op, torch::jit::Stack stack) {
    op.callBoxed(stack);
    return stack.front().toTensor();
  }

  const std::optional<c10::OperatorHandle> pack_;
  const std::optional<c10::OperatorHandle> linear_;
};

// Tries every operator on a small problem against at::linear.
bool OneDnnWorks(at::ScalarType dtype) {
  const OneDnnOps& ops = OneDnnOps::Get();
  if (!ops.found()) return false;
  try {
    const at::Tensor x = at::randn({8, 64}).to(dtype);
    const at::Tensor weight = at::randn({32, 64}).div(8).to(dtype);
    const at::Tensor bias = at::randn({32}).to(dtype);
    const at::Tensor packed = ops.Pack(weight);
    const at::Tensor expected = at::linear(x, weight, bias);
    const double tolerance = dtype == at::kFloat ? 1e-4 : 6e-2;
    const auto same = [&](const at::Tensor& a, const at::Tensor& b) {
      return at::allclose(a, b, tolerance, tolerance);
    };
    return same(ops.Run(x, packed, bias, "none", ""), expected) &&
           same(ops.Run(x, packed, bias, "gelu", "tanh"), at::gelu(expected, "tanh")) &&
           same(ops.Run(x, packed, bias, "gelu", "none"), at::gelu(expected, "none"));
  } catch (const std::exception&) {  // an operator of another version, or a machine without the instructions
    return false;
  }
}

bool OneDnnCanPack(at::ScalarType dtype) {
  static const bool float32 = OneDnnWorks(at::kFloat);
  static const bool bfloat16 = OneDnnWorks(at::kBFloat16);
  return dtype == at::kFloat ? float32 : dtype == at::kBFloat16 && bfloat16;
}

// Null where oneDNN or torch is to be used.
const LinearKernel* ChooseKernel(at::ScalarType dtype) {
  const IsaLimits limits = GetIsaLimits();
  if (dtype == at::kBFloat16 && limits.amx && HasAmxBf16()) return nullptr;
  for (const LinearKernel* kernel : LinearKernels()) {
    const bool usable = Allows(limits, kernel->isa) && kernel->supported();
    if (usable && dtype == (kernel->bf16 ? at::kBFloat16 : at::kFloat)) return kernel;
  }
  return nullptr;
}

}  // namespace

Linear::Linear(const at::Tensor& weight, const at::Tensor& bias, Path path) : out_(weight.size(0)), bias_(bias) {
  const at::ScalarType dtype = weight.scalar_type();
  if (path == Path::kBest) kernel_ = ChooseKernel(dtype);
  if (kernel_ != nullptr && weight.size(1) % kernel_->pack != 0) kernel_ = nullptr;
  onednn_ = kernel_ == nullptr && path != Path::kTorch && OneDnnCanPack(dtype);
  if (kernel_ != nullptr) {
    Pack(weight.contiguous());
    bias_ = bias.to(at::kFloat);
  } else if (onednn_) {
    weight_ = OneDnnOps::Get().Pack(weight);
  } else {
    weight_ = path == Path::kBest && !KeepsWeight(dtype) ? weight.clone() : weight;
  }
}

bool Linear::KeepsCodeByRows(at::ScalarType dtype) { return ChooseKernel(dtype) == nullptr; }

bool Linear::KeepsWeight(at::ScalarType dtype) { return ChooseKernel(dtype) == nullptr && !OneDnnCanPack(dtype); }

void Linear::Pack(const at::Tensor& weight) {
  const int64_t in = weight.size(1);
  const int64_t panels = (out_ + kernel_->panel - 1) / kernel_->panel;
  weight_ = at::empty({panels, kernel_->panel * in / kernel_->pack}, at::kInt);
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      auto* packed = reinterpret_cast<uint32_t*>(weight_.mutable_data_ptr<int32_t>()) + i * weight_.size(1);
      kernel_->pack_panel(weight.const_data_ptr(), out_, in, i * kernel_->panel, packed);
    }
  });
}

// Tasks are some rows through one panel; threads take them in order, so that those at work share the rows.
void Linear::RunKernel(const at::Tensor& x, LinearEnd end, const at::Tensor& out) const {
  const at::Tensor contiguous = x.contiguous();
  const int64_t rows = x.size(0);
  const int64_t in = x.size(1);
  const int64_t panels = weight_.size(0);
  const int64_t threads = at::get_num_threads();
  const int64_t wanted =
      std::max((rows + kMultipliedRowsPerTask - 1) / kMultipliedRowsPerTask, kTasksPerThread * threads / panels);
  const int64_t step = std::max<int64_t>(6, (rows / wanted + 6) / 6 * 6);
  const int64_t parts = (rows + step - 1) / step;
  const auto* x_bytes = static_cast<const std::byte*>(contiguous.const_data_ptr());
  auto* out_bytes = static_cast<std::byte*>(out.mutable_data_ptr());
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min(threads, parts * panels), 1, [&](int64_t /*begin*/, int64_t /*end*/) {
    for (int64_t i = next++; i < parts * panels; i = next++) {
      const int64_t first = i / panels * step;
      const int64_t column = i % panels * kernel_->panel;
      LinearTask task{};
      task.x = x_bytes + first * in * static_cast<int64_t>(x.element_size());
      task.rows = std::min(step, rows - first);
      task.in = in;
      task.panel = reinterpret_cast<const uint32_t*>(weight_.const_data_ptr<int32_t>()) + i % panels * weight_.size(1);
      task.bias = bias_.const_data_ptr<float>() + column;
      task.columns = std::min(kernel_->panel, out_ - column);
      task.end = end;
      task.out = out_bytes + (first * out_ + column) * static_cast<int64_t>(out.element_size());
      task.out_stride = out_;
      kernel_->run(task);
    }
  });
}

at::Tensor Linear::RunKernel(const at::Tensor& x, LinearEnd end) const {
  at::Tensor out = at::empty({x.size(0), out_}, end == LinearEnd::kStoreFp32 ? at::kFloat : x.scalar_type());
  RunKernel(x, end, out);
  return out;
}

at::Tensor Linear::RunPlain(const at::Tensor& x) const {
  return onednn_ ? OneDnnOps::Get().Run(x, weight_, bias_, "none", "") : at::linear(x, weight_, bias_);
}

at::Tensor Linear::RunGelu(const at::Tensor& x, LinearEnd end, const char* approximation) const {
  if (kernel_ != nullptr) return RunKernel(x, end);
  if (onednn_) return OneDnnOps::Get().Run(x, weight_, bias_, "gelu", approximation);
  return at::gelu(at::linear(x, weight_, bias_), approximation);
}

at::Tensor Linear::operator()(const at::Tensor& x) const {
  return kernel_ != nullptr ? RunKernel(x, LinearEnd::kStore) : RunPlain(x);
}

at::Tensor Linear::WithTanhGelu(const at::Tensor& x) const { return RunGelu(x, LinearEnd::kTanhGelu, "tanh"); }

at::Tensor Linear::WithErfGelu(const at::Tensor& x) const { return RunGelu(x, LinearEnd::kErfGelu, "none"); }

at::Tensor Linear::InFp32(const at::Tensor& x) const {
  return kernel_ != nullptr ? RunKernel(x, LinearEnd::kStoreFp32) : RunPlain(x).to(at::kFloat);
}

void Linear::AddTo(const at::Tensor& stream, const at::Tensor& x) const {
  if (kernel_ != nullptr) {
    RunKernel(x, LinearEnd::kAddToFp32, stream);
  } else {
    stream.add_(RunPlain(x));
  }
}

}  // namespace vitower
