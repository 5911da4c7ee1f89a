#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/command.h"
#include "cli/embedding.h"
#include "cli/file_report.h"
#include "cli/output_files.h"
#include "cli/parse.h"
#include "cli/read_ahead.h"
#include "model/cpu_count.h"
#include "model/inspect.h"
#include "model/make_checkpoint.h"
#include "model/patchify.h"
#include "server/version.h"

namespace vitower {
namespace {

constexpr char kExamples[] =
    "  vitower preprocess cat.jpg --output cat.safetensors\n"
    "  vitower preprocess photos/ --output patches/ --max-pixels 1048576\n"
    "  vitower preprocess photos/ --output patches/ --model Qwen3-VL-2B-Instruct/";

constexpr int kMostThreads = 8;  // by default: the patches of one image may take 400 MiB

// What preprocessing takes from a model.
struct Processor {
  TowerConfig tower;
  ImageProcessorConfig config;
};

// As every Qwen3-VL checkpoint of the hub has it.
Processor HubProcessor() {
  Processor processor;
  processor.config.min_pixels = 65'536;
  processor.config.max_pixels = 16'777'216;
  return processor;
}

absl::StatusOr<Processor> ProcessorOf(const std::string& model) {
  Processor processor = HubProcessor();
  if (model.empty()) return processor;
  if (model.compare(0, 7, "random:") == 0) {
    absl::StatusOr<TowerConfig> tower = NamedShape(model.substr(7));
    if (!tower.ok()) return tower.status();
    processor.tower = *std::move(tower);
    return processor;
  }
  absl::StatusOr<CheckpointSummary> summary = InspectCheckpoint(model);
  if (!summary.ok()) return summary.status();
  return Processor{std::move(summary->tower), summary->image_processor};
}

struct Patches {
  GridThw grid;
  double seconds = 0;
  std::vector<NamedTensor> tensors;
};

absl::StatusOr<Patches> MakePatches(const InputFile& file, const ImageOptions& options, const Processor& processor) {
  const absl::StatusOr<std::string> bytes = ReadInput(file);
  if (!bytes.ok()) return bytes.status();
  const absl::StatusOr<PreparedImage> image = PrepareImage(*bytes, options);
  if (!image.ok()) return image.status();
  const std::vector<float> values = PixelValues(image->frames, processor.tower, processor.config);
  Patches patches{image->frames.grid, image->decode_seconds + image->resize_seconds, {}};
  NamedTensor rows{"pixel_values", "F32", {patches.grid.patches(), processor.tower.patch_dim()}, {}};
  rows.data.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  patches.tensors.push_back(std::move(rows));
  patches.tensors.push_back(GridTensor("image_grid_thw", patches.grid, {1, 3}));
  return patches;
}

class Preprocess final : public Command {
 public:
  explicit Preprocess(CLI::App& root)
      : Command(root, "preprocess",
                "Turn image files into pixel_values and image_grid_thw, as the reference processor makes them.",
                kExamples) {
    app().add_option("inputs", arguments_, "image files and folders (searched for images), or - for standard input");
    options().Add({"output", "PATH", "", "a file for one input, a folder (created) for many; required"},
                  IntoText(&request_.output));
    options().AddSwitch("overwrite", "replace files that exist", &request_.overwrite);
    options().Add(
        {"model", "MODEL", "",
         "whose size limits and normalisation to take: a checkpoint folder or random:SHAPE (default: those of "
         "the hub's Qwen3-VL models, 65536 to 16777216 pixels)"},
        IntoText(&model_));
    AddImageFlags(options(), &flags_);
    options().Add({"preprocess-threads", "N", "0", "images worked on at a time (0: one a core, at most 8)"},
                  Into(&threads_, ParseInt));
    options().AddSwitch("quiet", "print nothing but errors", &quiet_);
  }

 private:
  ExitCode Execute() override {
    const absl::StatusOr<InputList> inputs = CollectInputs(arguments_);
    if (!inputs.ok()) return Fail(ExitCode::kUsage, std::string(inputs.status().message()));
    request_.format = FileFormat::kSafetensors;
    const absl::StatusOr<OutputPlan> plan = PlanOutputs(*inputs, request_);
    if (!plan.ok()) return Fail(ExitCode::kUsage, std::string(plan.status().message()));
    const absl::StatusOr<Processor> processor = ProcessorOf(model_);
    if (!processor.ok()) return Fail(processor.status());
    const absl::StatusOr<ImageOptions> image_options = ToImageOptions(flags_, processor->tower, processor->config);
    if (!image_options.ok()) return Fail(ExitCode::kUsage, std::string(image_options.status().message()));
    return PreprocessAll(*inputs, *plan, *processor, *image_options);
  }

  ExitCode PreprocessAll(const InputList& inputs, const OutputPlan& plan, const Processor& processor,
                         const ImageOptions& image_options) {
    FileReport report("preprocess", inputs, quiet_);
    const size_t threads = static_cast<size_t>(threads_ > 0 ? threads_ : std::min(UsableCores(), kMostThreads));
    ReadAhead<absl::StatusOr<Patches>> made(inputs.files.size(), threads, /*window=*/threads, [&](size_t i) {
      return MakePatches(inputs.files[i], image_options, processor);
    });
    for (size_t i = 0; i < inputs.files.size(); ++i) {
      const absl::StatusOr<Patches> patches = made.Next();
      if (!patches.ok()) {
        report.Refused(i, patches.status());
        continue;
      }
      const absl::Status written = WriteTensors(
          plan.paths[i], plan.format, patches->tensors,
          {{"source", inputs.files[i].path.filename().string()}, {"vitower_version", std::string(kVersion)}});
      if (!written.ok()) return report.Stop(written);
      report.Done(i, patches->grid, patches->grid.patches() / processor.tower.merge_unit(), patches->seconds);
    }
    return report.Finish();
  }

  std::vector<std::string> arguments_;
  OutputRequest request_;
  std::string model_;
  ImageFlags flags_;
  int threads_ = 0;
  bool quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> MakePreprocess(CLI::App& root) { return std::make_unique<Preprocess>(root); }

}  // namespace vitower
