"""The whole message of each bad input that test_bad_inputs.py makes."""

EXPECTED = {
    "weights_truncated": """\
bad.weights: error: the file ends at byte 1220 inside layer 1 [convolutional]: the cfg needs 6740 bytes
hint: use the cfg the weights were trained with, or copy the file again
""",
    "weights_longer": """\
bad.weights: error: 64 bytes are left at byte 6740: the cfg needs 6740 bytes, the file has 6804
hint: use the cfg the weights were trained with, or copy the file again
""",
    "weights_empty": """\
bad.weights: error: the file is empty
hint: copy or download the file again
""",
    "weights_end_inside_the_header": """\
bad.weights: error: the file ends inside its header, at byte 18
hint: copy or download the file again
""",
    "weights_ragged": """\
bad.weights: error: 1 byte behind the last whole float, at byte 6736
hint: the file was cut or is not a Darknet weights file; copy it again
""",
    "weights_one_byte_too_long": """\
bad.weights: error: 1 byte behind the last whole float, at byte 6740
hint: the file was cut or is not a Darknet weights file; copy it again
""",
    "weights_of_other_classes": """\
good.weights: error: the file ends at byte 6740 inside layer 4 [convolutional]: the cfg needs 15056 bytes
hint: the size fits this cfg with classes=3: use the cfg the weights were trained with
""",
    "weights_partial": """\
good.conv.1: error: the file ends with layer 0 of 6: a partial file (.conv.1)
hint: give the full weights; only inspect --partial takes a part of them
""",
    "weights_partial_inspected": """\
good.conv.1: error: the file ends with layer 0 of 6: a partial file (.conv.1)
hint: give the full weights; only inspect --partial takes a part of them
""",
    "weights_cut_inside_a_layer_though_partial": """\
bad.weights: error: the file ends at byte 1008 inside layer 0 [convolutional]: the cfg needs 6740 bytes
hint: use the cfg the weights were trained with, or copy the file again
""",
    "weights_and_cfg_swapped": """\
good.weights: error: this is not a cfg: it holds binary data at byte 0
hint: the order is CFG WEIGHTS; are they swapped?
""",
    "weights_that_are_a_cfg": """\
good.cfg: error: this is a text file, not weights
hint: the order is CFG WEIGHTS; are they swapped?
""",
    "weights_that_are_a_git_lfs_pointer": """\
bad.weights: error: this is a Git LFS pointer, not the weights
hint: run: git lfs pull
""",
    "weights_that_are_a_web_page": """\
bad.weights: error: this is a web page, not weights
hint: download the file itself, not the page that offers it
""",
    "weights_that_are_something_else": """\
bad.weights: error: this is no Darknet weights file: something else stands in its header
hint: give the .weights that Darknet wrote
""",
    "weights_absent": """\
absent.weights: error: cannot read the weights: No such file or directory
hint: check the path
""",
    "cfg_absent": """\
absent.cfg: error: cannot read the cfg: No such file or directory
hint: check the path
""",
    "cfg_too_large": """\
huge.cfg: error: this is not a cfg: it has more than 16777216 bytes
hint: the order is CFG WEIGHTS; are they swapped?
""",
    "weights_of_numload": """\
numload.cfg:32: error: numload cuts the arrays of this layer short in a way only one reader knows
   32 | numload=8
      |         ^
hint: remove the option, or save the weights without it
""",
    "variance_negative": """\
bad.weights: error: negative variance -1.0 at byte 136 (layer 0, filter 5)
hint: the file is damaged or belongs to another cfg
""",
    "weight_nan": """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
""",
    "weight_nan_dry_run": """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
""",
    "weight_nan_scored": """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
""",
    "weight_nan_where_too_much_would_go": """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
""",
    "weight_nan_overwriting": """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
""",
    "weight_infinite": """\
bad.weights: error: value inf at byte 6736 (float 1679)
hint: training diverged or the file is damaged; use an earlier backup
""",
    "weight_infinite_that_is_absorbed": """\
bad.weights: error: value -inf at byte 1140 (float 280)
hint: training diverged or the file is damaged; use an earlier backup
""",
    "gamma_nan": """\
bad.weights: error: value nan at byte 52 (float 8)
hint: training diverged or the file is damaged; use an earlier backup
""",
    "gamma_infinite": """\
bad.weights: error: value inf at byte 56 (float 9)
hint: training diverged or the file is damaged; use an earlier backup
""",
    "weight_nan_inspected": """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
""",
    "weight_nan_verified": """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
""",
    "weight_nan_in_the_second_pair": """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
""",
    "output_into_no_folder": """\
absent: error: this folder does not exist
hint: make it first, or write elsewhere
""",
    "output_into_a_file": """\
good.cfg: error: this is no folder
hint: make it first, or write elsewhere
""",
    "output_without_a_name": """\
./: error: this names no file
hint: give a path and a stem, as in out/pruned
""",
    "output_over_the_input": """\
good.weights: error: the output would replace the input good.weights
hint: choose another name; inputs are never overwritten
""",
    "output_over_the_input_through_a_link": """\
link.weights: error: the output would replace the input good.weights
hint: choose another name; inputs are never overwritten
""",
    "output_over_the_input_as_a_hard_link": """\
./link.cfg: error: the output would replace the input good.cfg
hint: choose another name; inputs are never overwritten
""",
    "output_over_a_file": """\
out.weights: error: this file exists
hint: --overwrite replaces it
""",
    "output_over_a_plan": """\
out.plan.json: error: this file exists
hint: --overwrite replaces it
""",
    "output_over_a_folder": """\
out.cfg: error: something that is no file stands here
hint: choose another name
""",
    "plan_absent": """\
absent.json: error: cannot read the plan: No such file or directory
hint: check the path
""",
    "plan_that_is_no_json": """\
plan.json:3: error: this is no plan, as it is no JSON
    3 |  "pair": nonsense
      |          ^
hint: give the .plan.json of the pruned pair, as darkprune wrote it
""",
    "plan_that_is_binary": """\
good.weights: error: this is no plan, as it is no JSON
hint: give the .plan.json of the pruned pair, as darkprune wrote it
""",
    "plan_nested_deeply": """\
plan.json: error: this is no plan, as it is no JSON
hint: give the .plan.json of the pruned pair, as darkprune wrote it
""",
    "plan_of_another_version": """\
plan.json: error: this is no plan of this version
hint: its "format" must be "darkprune plan 1"
""",
    "plan_of_another_kind": """\
plan.json: error: this is no plan of this version
hint: its "format" must be "darkprune plan 1"
""",
    "plan_without_a_pair": """\
plan.json: error: "pair" is missing or no string
hint: make the plan again
""",
    "plan_with_a_list_for_an_object": """\
plan.json: error: "removed_channels" is missing or no object
hint: make the plan again
""",
    "plan_with_a_word_for_a_channel": """\
plan.json: error: "removed_channels" holds no list of channels for layer 0
hint: make the plan again
""",
    "plan_with_a_negative_channel": """\
plan.json: error: "constants" holds no list of channels for layer 0
hint: make the plan again
""",
    "plan_with_a_layer_of_5000_digits": """\
plan.json: error: "removed_channels" holds no list of channels for layer 99999999999999999...
hint: make the plan again
""",
    "plan_with_a_malformed_block": """\
plan.json: error: an entry of "removed_blocks" is malformed
hint: make the plan again
""",
    "plan_with_an_unknown_absorb_mode": """\
plan.json: error: "absorb" is none of exact, bias, none in "options"
hint: make the plan again
""",
    "plan_for_another_pair": """\
plan.json: error: the plan was made for another pair (KEY, this one is KEY)
hint: give the cfg and weights it was made from, in the same dialect
""",
    "plan_for_another_pair_to_verify": """\
plan.json: error: the plan was made for another pair (KEY, this one is KEY)
hint: give the cfg and weights it was made from, in the same dialect
""",
    "plan_in_another_dialect": """\
plan.json: error: the plan was made in the dialect alexeyab, the pair was read in pjreddie
hint: give --dialect alexeyab, or make the plan again
""",
    "plan_with_a_layer_too_many": """\
plan.json: error: the net has no layer 6
hint: make the plan again
""",
    "plan_with_a_channel_too_many": """\
plan.json: error: the plan names channel 9 of layer 0, which has 8
hint: make the plan again
""",
    "plan_with_a_huge_channel": """\
plan.json: error: the plan names channel 10000000000000000... of layer 0, which has 8
hint: make the plan again
""",
    "plan_with_a_layer_without_channels": """\
plan.json: error: the plan removes channels of layer 3, which makes none
hint: make the plan again
""",
    "plan_with_a_pinned_channel": """\
plan.json: error: the plan removes a channel that must stay: read by layer 5 [yolo]
hint: make the plan again
""",
    "plan_with_a_part_of_a_channel_set": """\
plan.json: error: the plan removes a part of the channel set that channel 2 of layer 1 is in
hint: channels that are tied must go together: make the plan again
""",
    "plan_with_a_channel_named_twice": """\
plan.json: error: "removed_channels" names a channel of layer 0 twice
hint: make the plan again
""",
    "plan_that_leaves_no_filter": """\
plan.json: error: the plan leaves no filter in layer 0
hint: make the plan again
""",
    "plan_without_its_constants": """\
plan.json: error: the plan's constants do not fit the readers of padded layers
hint: make the plan again
""",
    "plan_with_a_block_that_is_none": """\
plan.json: error: layers [1, 3] are no shortcut block
hint: make the plan again
""",
    "plan_with_a_block_too_many": """\
plan.json: error: the net has no layer 9
hint: make the plan again
""",
    "plan_beside_channels": """\
error: --plan already says what goes
hint: leave out --channels
""",
    "plan_with_fewer_layers_than_the_second_pair": """\
good.cfg: error: the second pair does not have the layers that the plan leaves
hint: give the second pair and the plan that one run of prune wrote
""",
    "channels_above_1": """\
error: channels must be at least 0 and below 1
hint: 0.6 removes 60 % of the filters
""",
    "channels_negative": """\
error: channels must be at least 0 and below 1
hint: 0.6 removes 60 % of the filters
""",
    "channels_nan": """\
error: channels must be at least 0 and below 1
hint: 0.6 removes 60 % of the filters
""",
    "neither_channels_nor_blocks": """\
error: nothing to prune was asked for
hint: give --channels 0.5, --blocks 4, or both
""",
    "round_0": """\
error: round must be at least 1
hint: 1 rounds nothing, 8 keeps multiples of 8
""",
    "blocks_too_many": """\
error: 4 shortcut blocks were asked for, 1 of 1 can go
hint: ask for fewer
""",
    "blocks_negative": """\
error: blocks must not be negative
hint: give the number of shortcut blocks to remove
""",
    "min_keep_negative": """\
error: min-keep must be a number of at least 0
hint: give a fraction below 1, or a count
""",
    "min_keep_infinite": """\
error: min-keep must be a number of at least 0
hint: give a fraction below 1, or a count
""",
    "pruned_to_death": """\
error: pruning would remove 94% of the signal (layer 0: 69%, layer 1: 69%, layer 2: 69%)
hint: prune less, use --scope layer, train for sparsity first, or --force
""",
    "runner_unknown": """\
error: unknown runner tensorflow
hint: use numpy, opencv, darknet
""",
    "runner_none": """\
error: --runners names no runner
hint: use numpy, opencv, darknet
""",
    "nothing_to_compare": """\
error: one pair and one runner leave nothing to compare
hint: add --runners numpy,opencv
""",
    "second_pair_without_a_plan": """\
error: a second pair and its plan belong together
hint: CFG WEIGHTS CFG2 WEIGHTS2 --plan PLAN
""",
    "second_cfg_without_weights": """\
error: a second pair and its plan belong together
hint: CFG WEIGHTS CFG2 WEIGHTS2 --plan PLAN
""",
    "plan_without_a_second_pair": """\
error: a second pair and its plan belong together
hint: CFG WEIGHTS CFG2 WEIGHTS2 --plan PLAN
""",
}
