#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/command.h"
#include "cli/embedding.h"
#include "cli/file_report.h"
#include "cli/output_files.h"
#include "cli/parse.h"
#include "cli/prepare.h"
#include "cli/read_ahead.h"
#include "cli/threads.h"
#include "model/inspect.h"
#include "model/patchify.h"
#include "server/version.h"

namespace vitower {
namespace {

constexpr char kPreprocessExamples[] =
    "  vitower preprocess cat.jpg --output cat.safetensors\n"
    "  vitower preprocess photos/ --output patches/ --max-pixels 1048576\n"
    "  vitower preprocess photos/ --output patches/ --model Qwen3-VL-2B-Instruct/\n"
    "  vitower preprocess talk.mp4 --output talk.safetensors --num-frames 16";

constexpr int kMostThreads = 8;  // by default: the patches of one image may take 400 MiB

// The hub's Qwen3-VL checkpoints all share their processors' limits and the geometry of patches.
constexpr char kHubModel[] = "random:2b";

struct Patches {
  GridThw grid;
  double seconds = 0;
  std::vector<NamedTensor> tensors;
  std::optional<ClipSummary> clip;
};

// Named as the reference processor names them.
std::vector<NamedTensor> ToTensors(const Frames& frames, bool is_clip, const CheckpointSummary& model) {
  const std::vector<float> values = PixelValues(frames, model.tower, model.image_processor);
  NamedTensor rows{is_clip ? "pixel_values_videos" : "pixel_values", "F32", {}, {}};
  rows.shape = {frames.grid.patches(), model.tower.patch_dim()};
  rows.data.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  std::vector<NamedTensor> tensors;
  tensors.push_back(std::move(rows));
  tensors.push_back(GridTensor(is_clip ? "video_grid_thw" : "image_grid_thw", frames.grid, {1, 3}));
  return tensors;
}

absl::StatusOr<Patches> MakePatches(const InputFile& file, const Preparer& preparer, const CheckpointSummary& model) {
  absl::StatusOr<Prepared> prepared = preparer.Prepare(file);
  if (!prepared.ok()) return prepared.status();
  Patches patches;
  patches.grid = prepared->frames.grid;
  patches.seconds = prepared->decode_seconds + prepared->resize_seconds;
  patches.tensors = ToTensors(prepared->frames, prepared->clip.has_value(), model);
  patches.clip = std::move(prepared->clip);
  return patches;
}

class Preprocess final : public Command {
 public:
  explicit Preprocess(CLI::App& root)
      : Command(root, "preprocess",
                "Turn image files into pixel_values and image_grid_thw, and clips into pixel_values_videos and\n"
                "video_grid_thw, as the reference processor makes them.",
                kPreprocessExamples) {
    app().add_option("inputs", arguments_,
                     "image and clip files and folders (searched for both), or - for standard input");
    options().Add({"output", "PATH", "", "a file for one input, a folder (created) for many; required"},
                  IntoText(&request_.output));
    options().AddSwitch("overwrite", "replace files that exist", &request_.overwrite);
    options().Add(
        {"model", "MODEL", "",
         "whose size limits and normalisation to take: a checkpoint folder or random:SHAPE (default: those of "
         "the hub's Qwen3-VL models, 65536 to 16777216 pixels; of a clip, 4096 to 25165824)"},
        IntoText(&model_));
    AddImageFlags(options(), &image_flags_);
    AddClipFlags(options(), &clip_flags_);
    options().Add(
        {"preprocess-threads", "N", "0", "files worked on at a time (0: one a core, within the CPU quota, at most 8)"},
        Into(&threads_, ParseInt));
    options().AddSwitch("quiet", "print nothing but errors", &quiet_);
  }

 private:
  ExitCode Execute() override {
    const absl::StatusOr<InputList> inputs = CollectInputs(arguments_);
    if (!inputs.ok()) return Fail(ExitCode::kUsage, std::string(inputs.status().message()));
    if (!inputs->passed_over.empty()) std::fprintf(stderr, "vitower: %s\n", DescribePassedOver(*inputs).c_str());
    request_.format = FileFormat::kSafetensors;
    const absl::StatusOr<OutputPlan> plan = PlanOutputs(*inputs, request_);
    if (!plan.ok()) return Fail(ExitCode::kUsage, std::string(plan.status().message()));
    const absl::StatusOr<CheckpointSummary> model = InspectCheckpoint(model_.empty() ? kHubModel : model_);
    if (!model.ok()) return Fail(model.status());
    const absl::StatusOr<Preparer> preparer =
        Preparer::Create(image_flags_, clip_flags_, model->tower, model->image_processor, model->video_processor);
    if (!preparer.ok()) return Fail(ExitCode::kUsage, std::string(preparer.status().message()));
    return PreprocessAll(*inputs, *plan, *model, *preparer);
  }

  ExitCode PreprocessAll(const InputList& inputs, const OutputPlan& plan, const CheckpointSummary& model,
                         const Preparer& preparer) {
    FileReport report("preprocess", inputs, quiet_);
    const auto threads = static_cast<size_t>(threads_ > 0 ? threads_ : std::min(ThreadCount(0), kMostThreads));
    ReadAhead<absl::StatusOr<Patches>> made(inputs.files.size(), threads, /*window=*/threads,
                                            [&](size_t i) { return MakePatches(inputs.files[i], preparer, model); });
    for (size_t i = 0; i < inputs.files.size(); ++i) {
      const absl::StatusOr<Patches> patches = made.Next();
      if (!patches.ok()) {
        report.Refused(i, patches.status());
        continue;
      }
      std::map<std::string, std::string> metadata = ClipMetadata(patches->clip);
      metadata["source"] = inputs.files[i].path.filename().string();
      metadata["vitower_version"] = std::string(kVersion);
      const absl::Status written = WriteTensors(plan.paths[i], plan.format, patches->tensors, metadata);
      if (!written.ok()) return report.Stop(written);
      report.Done(i, patches->grid, patches->grid.patches() / model.tower.merge_unit(), patches->seconds);
    }
    return report.Finish();
  }

  std::vector<std::string> arguments_;
  OutputRequest request_;
  std::string model_;
  ImageFlags image_flags_;
  ClipFlags clip_flags_;
  int threads_ = 0;
  bool quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> MakePreprocess(CLI::App& root) { return std::make_unique<Preprocess>(root); }

}  // namespace vitower
