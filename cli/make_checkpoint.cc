#include "model/make_checkpoint.h"

#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/command.h"
#include "cli/parse.h"
#include "cli/threads.h"
#include "model/inspect.h"

namespace vitower {
namespace {

constexpr char kMakeCheckpointExamples[] =
    "  vitower make-checkpoint --output tower/\n"
    "  vitower make-checkpoint --shape 2b --shards 2 --outliers --output tower-2b/";

class MakeCheckpoint final : public Command {
 public:
  explicit MakeCheckpoint(CLI::App& root)
      : Command(root, "make-checkpoint",
                "Write a checkpoint folder of random weights, laid out as the hub's. Equal options give equal bytes.",
                kMakeCheckpointExamples) {
    std::vector<std::string> shapes;
    for (std::string_view shape : ShapeNames()) shapes.emplace_back(shape);
    options().Add({"shape", "SHAPE", recipe_.shape, absl::StrCat("one of ", absl::StrJoin(shapes, ", "))},
                  IntoText(&recipe_.shape));
    options().Add({"output", "FOLDER", "", "where to write it; created, must hold no checkpoint yet; required"},
                  IntoText(&output_));
    options().Add({"dtype", "DTYPE", "bf16", "of the stored weights: bf16 or fp32"}, Into(&recipe_.dtype, ParseDType));
    options().Add({"seed", "N", "0", "of the random weights"}, Into(&recipe_.seed, ParseInt));
    options().AddSwitch(
        "outliers",
        "plant massive activations like those of trained towers: channels of about 3e3 and an fc1 output "
        "above 65,504, the largest fp16 number",
        &recipe_.outliers);
    options().Add({"shards", "N", "1", "safetensors files; more than one adds the index"},
                  Into(&recipe_.shards, ParseInt, /*min=*/1, /*max=*/1000));
    options().Add({"prefix", "TEXT", recipe_.prefix, "of every tensor's name: model.visual., visual. or vision_tower."},
                  IntoText(&recipe_.prefix));
    options().AddSwitch("quiet", "print nothing but errors", &quiet_);
  }

 private:
  ExitCode Execute() override {
    if (output_.empty()) return Fail(ExitCode::kUsage, "--output is required: the folder to write");
    if (const auto shape = NamedShape(recipe_.shape); !shape.ok()) {
      return Fail(ExitCode::kUsage, absl::StrCat("--shape: ", std::string(shape.status().message())));
    }
    if (!quiet_) std::printf("writing %s, shape %s, %s ...\n", output_.c_str(), recipe_.shape.c_str(), DTypeName());
    std::fflush(stdout);
    recipe_.threads = ThreadCount(0);
    const absl::Status written = WriteRandomCheckpoint(output_, recipe_);
    if (!written.ok()) return Fail(written);
    const absl::StatusOr<CheckpointSummary> summary = InspectCheckpoint(output_);
    if (!summary.ok()) return Fail(ExitCode::kFailure, std::string(summary.status().message()));
    if (!quiet_) {
      std::printf("%s: %lld tensors, %lld parameters, %lld bytes in %zu files\n", output_.c_str(),
                  static_cast<long long>(summary->tensor_count), static_cast<long long>(summary->parameter_count),
                  static_cast<long long>(summary->weight_bytes), summary->files.size());
    }
    return ExitCode::kOk;
  }

  const char* DTypeName() const { return Name(recipe_.dtype).data(); }

  std::string output_;
  CheckpointRecipe recipe_;
  bool quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeMakeCheckpoint(CLI::App& root) { return std::make_unique<MakeCheckpoint>(root); }

}  // namespace vitower
