#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/command.h"
#include "cli/connection_flags.h"
#include "cli/embedding.h"
#include "cli/file_report.h"
#include "cli/local_embed.h"
#include "cli/output_files.h"
#include "cli/parse.h"
#include "cli/remote_embed.h"
#include "cli/stage_table.h"
#include "server/version.h"

namespace vitower {
namespace {

constexpr char kEmbedExamples[] =
    "  vitower embed cat.jpg --model random:2b --output cat.safetensors\n"
    "  vitower embed photos/ --server localhost:50051 --output embeddings/ --times\n"
    "  vitower embed photos/ --server localhost:50051 --output embeddings/ --format npy --dtype fp32\n"
    "  vitower embed talk.mp4 --server localhost:50051 --output talk.safetensors --video-fps 1 --start 30s --end 90s\n"
    "  curl -s https://example.org/a.jpg | vitower embed - --server localhost:50051 --output a.npy --outputs pooled\n"
    "  python3 -c \"import numpy; print(numpy.load('a.npy').shape)\"";

double Sum(const std::vector<std::pair<std::string, double>>& stage_seconds) {
  double total = 0;
  for (const auto& [stage, seconds] : stage_seconds) total += seconds;
  return total;
}

class Embed final : public Command {
 public:
  explicit Embed(CLI::App& root)
      : Command(root, "embed", "Embed image and clip files: by a server (--server), or in this process (--model).",
                kEmbedExamples) {
    app().add_option("inputs", arguments_,
                     "image and clip files and folders (searched for both), or - for standard input");
    AddWhereOptions();
    AddWhatOptions();
    AddHowOptions();
  }

 private:
  void AddWhereOptions() {
    options().Add({"server", "HOST:PORT", "", "the server that embeds"}, IntoText(&connection_.server));
    AddTlsFlags(options(), &connection_);
    AddTokenFlags(options(), &connection_);
    options().Add({"model", "MODEL", "",
                   "embed in this process: a checkpoint folder, or random:2b (4b, 8b, 32b, tiny) for random weights"},
                  IntoText(&local_.model));
    options().Add({"output", "PATH", "", "a file for one input, a folder (created) for many; required"},
                  IntoText(&request_.output));
    options().Add({"format", "FORMAT", "",
                   "safetensors, or npy: x.npy holds the first output, x.deepstack_0.npy and so on the others "
                   "(default: by the extension of --output, else safetensors)"},
                  Into(&request_.format, ParseFileFormat));
    options().AddSwitch("overwrite", "replace files that exist", &request_.overwrite);
  }

  void AddWhatOptions() {
    options().Add(
        {"outputs", "LIST", "tokens,deepstack",
         "what to write: tokens, deepstack (every level), deepstack_N (one level), pooled (mean of the tokens), "
         "pooled_slices (mean of each temporal slice's)"},
        Into(&choices_.outputs, ParseOutputs));
    options().AddSwitch("l2-normalize", "scale the vectors of pooled and pooled_slices to length 1",
                        &choices_.outputs.l2_normalize);
    options().Add({"dtype", "DTYPE", "",
                   "bf16, fp16 or fp32, of what is written; with --model, bf16 and fp32 are also what the tower "
                   "computes in (default: the tower's own)"},
                  Into(&choices_.dtype, ParseDType));
    AddImageFlags(options(), &choices_.image);
    AddClipFlags(options(), &choices_.clip);
  }

  void AddHowOptions() {
    options().Add({"in-flight", "N", "64", "with --server: files sent and not yet answered"},
                  Into(&remote_.in_flight, ParseInt, /*min=*/1, /*max=*/65536));
    options().Add({"timeout", "TIME", "5min",
                   "with --server: how long to wait for the next answer, and for a full server to take a file"},
                  Into(&remote_.timeout, ParseDuration));
    options().Add({"device", "DEVICE", "cpu", "with --model: what computes, cpu or cuda:N"}, IntoText(&local_.device));
    options().Add({"threads", "N", "0", "with --model: compute threads (0: one a core, within the CPU quota)"},
                  Into(&local_.threads, ParseInt));
    options().Add({"preprocess-threads", "N", "0",
                   "with --model: threads that decode and resize (0: one a core, within the CPU quota)"},
                  Into(&local_.preprocess_threads, ParseInt));
    options().Add({"max-batch-patches", "N", "1024",
                   "with --model: patches in one forward pass; a larger image or clip runs alone"},
                  Into(&local_.max_batch_patches, ParseInt, /*min=*/1));
    options().AddSwitch("times", "print how long each stage took, as a table", &times_);
    options().AddSwitch("quiet", "print nothing but errors", &quiet_);
  }

  ExitCode Execute() override {
    absl::Status status = ChooseSource();
    if (status.ok()) status = CheckChoices();
    if (status.ok() && !connection_.server.empty()) status = TakeConnection();
    if (!status.ok()) return Fail(ExitCode::kUsage, std::string(status.message()));
    const absl::StatusOr<InputList> inputs = CollectInputs(arguments_);
    if (!inputs.ok()) return Fail(ExitCode::kUsage, std::string(inputs.status().message()));
    if (!inputs->passed_over.empty()) std::fprintf(stderr, "vitower: %s\n", DescribePassedOver(*inputs).c_str());
    request_.tensor_names = {"tokens"};
    if (const auto plan = PlanOutputs(*inputs, request_); !plan.ok()) {
      return Fail(ExitCode::kUsage, std::string(plan.status().message()));
    }
    absl::StatusOr<std::unique_ptr<EmbeddingSource>> source = OpenSource();
    if (!source.ok()) return Fail(source.status());
    const absl::StatusOr<std::vector<uint32_t>> levels = WantedLevels(choices_.outputs, (*source)->model());
    if (!levels.ok()) return Fail(ExitCode::kUsage, std::string(levels.status().message()));
    request_.tensor_names = TensorNames(choices_.outputs, *levels);
    const absl::StatusOr<OutputPlan> plan = PlanOutputs(*inputs, request_);
    if (!plan.ok()) return Fail(ExitCode::kUsage, std::string(plan.status().message()));
    return EmbedAll(**source, *inputs, *plan);
  }

  // Where both are set, the one from the stronger source holds: a flag wins over a variable left in the environment.
  absl::Status ChooseSource() {
    if (connection_.server.empty() && local_.model.empty()) {
      return absl::InvalidArgumentError("--server or --model is required (--model random:tiny needs no file)");
    }
    if (connection_.server.empty() || local_.model.empty()) return absl::OkStatus();
    const OptionSource server = options().source("server");
    const OptionSource model = options().source("model");
    if (server == model) {
      return absl::InvalidArgumentError("--server and --model contradict each other: give one of them");
    }
    (server > model ? local_.model : connection_.server).clear();
    return absl::OkStatus();
  }

  absl::Status CheckChoices() const {
    const WantedOutputs& outputs = choices_.outputs;
    if (outputs.l2_normalize && !outputs.pooled && !outputs.pooled_slices) {
      return absl::InvalidArgumentError("--l2-normalize needs pooled or pooled_slices among --outputs");
    }
    return CheckClipFlags(choices_.clip);
  }

  absl::Status TakeConnection() {
    absl::StatusOr<ClientOptions> client = ToClientOptions(connection_);
    if (!client.ok()) return client.status();
    remote_.client = *std::move(client);
    absl::StatusOr<std::unique_ptr<Client>> made = MakeClient(remote_.client);
    if (!made.ok()) return made.status();
    client_ = *std::move(made);
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<EmbeddingSource>> OpenSource() {
    if (!connection_.server.empty()) return OpenRemote(remote_, std::move(client_));
    local_.dtype = choices_.dtype;
    local_.log = [quiet = quiet_](std::string_view message) {
      if (!quiet) std::fprintf(stderr, "%.*s\n", static_cast<int>(message.size()), message.data());
    };
    return OpenLocal(local_);
  }

  ExitCode EmbedAll(EmbeddingSource& source, const InputList& inputs, const OutputPlan& plan) {
    StageTable table;
    ExitCode code = ExitCode::kOk;
    {
      FileReport report("embed", inputs, quiet_);
      const absl::Status status =
          source.Run(inputs.files, choices_, [&](size_t i, absl::StatusOr<Embedding> embedding) -> absl::Status {
            if (!embedding.ok()) {
              report.Refused(i, embedding.status());
              return absl::OkStatus();
            }
            absl::Status written = WriteTensors(plan.paths[i], plan.format, embedding->tensors,
                                                Metadata(inputs.files[i], source.model(), embedding->clip));
            if (!written.ok()) return written;
            table.Add(embedding->stage_seconds);
            report.Done(i, embedding->grid, embedding->token_count, Sum(embedding->stage_seconds));
            return absl::OkStatus();
          });
      code = status.ok() ? report.Finish() : report.Stop(status);
    }
    if (times_) std::fputs(table.Text().c_str(), stdout);
    return code;
  }

  static std::map<std::string, std::string> Metadata(const InputFile& file, const ModelIdentity& model,
                                                     const std::optional<ClipSummary>& clip) {
    std::map<std::string, std::string> metadata = ClipMetadata(clip);
    metadata["source"] = file.path.filename().string();
    metadata["model"] = model.name;
    metadata["fingerprint"] = model.fingerprint;
    metadata["vitower_version"] = std::string(kVersion);
    return metadata;
  }

  std::vector<std::string> arguments_;
  ConnectionFlags connection_;
  RemoteOptions remote_{};
  std::unique_ptr<Client> client_;
  LocalOptions local_;
  EmbedChoices choices_;
  OutputRequest request_;
  bool times_ = false;
  bool quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeEmbed(CLI::App& root) { return std::make_unique<Embed>(root); }

}  // namespace vitower
